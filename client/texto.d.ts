/**
 * How long to wait after a close code and so many failures in a row, or null: for ever.
 *
 * @param {number} code
 * @param {number} failures
 * @param {typeof DEFAULTS} options
 */
export function waitAfter(code: number, failures: number, { backoffBase, backoffMax, restartSpread, random }: typeof DEFAULTS): number | null;
/** Why a message was not sent, or not for certain. */
export class TextoError extends Error {
    /**
     * @param {string} code The server's, or ECLOSED (the connection ended before the answer), ETIMEOUT (no answer in time), EOFFLINE (no
     *   connection in time, or ever again), EQUEUE (too much is waiting), ETOOLONG (longer than this server takes).
     * @param {string} description A sentence to show to a user.
     */
    constructor(code: string, description: string);
    code: string;
    description: string;
    /** Whether the message may have arrived all the same, so that sending it again may double it. */
    mayHaveArrived: boolean;
}
/** A connection to Texto that is made anew whenever it is lost. */
export class Texto {
    /**
     * Connects at once.
     *
     * @param {string} url `ws://` or `wss://`, and where the server has its WebSockets: `/v1/texto`.
     * @param {TextoOptions} [options]
     */
    constructor(url: string, options?: TextoOptions);
    get state(): TextoState;
    /** The id under which others reach you, or null while there is no connection. Each connection has a new one. */
    get id(): string | null;
    /** How many messages wait for a connection, or for their turn. */
    get queued(): number;
    /**
     * Listens. What a listener throws is reported like all that nobody catches, and does not disturb the client.
     *
     * @template {keyof TextoEvents} T
     * @param {T} type
     * @param {(detail: TextoEvents[T]) => void} listener
     * @returns {() => void} Ends the listening.
     */
    on<T extends keyof TextoEvents>(type: T, listener: (detail: TextoEvents[T]) => void): () => void;
    /**
     * Sends a message, or queues it until there is a connection.
     *
     * @param {string} to The id of the recipient.
     * @param {string} text
     * @returns {Promise<void>} Resolves when the server has handed it on; rejects with a {@link TextoError}.
     */
    send(to: string, text: string): Promise<void>;
    /**
     * Asks the server for a sign of life, and makes the connection anew if none comes in time. Worth a call when a device wakes up: a
     * WebSocket does not notice by itself that its network has gone.
     */
    check(): void;
    /** Connects now, also after close(). Does nothing where there is a connection or one is under way. */
    connect(): void;
    /** Closes for good: what waits is rejected, and no timer is left behind. */
    close(): void;
    #private;
}
/**
 * `previous` is the id of the connection before, which reaches you no longer; `until` is when the next attempt begins, as Date.now() counts.
 */
export type TextoState = {
    name: "connecting";
} | {
    name: "online";
    id: string;
    previous: string | null;
} | {
    name: "waiting";
    until: number;
    code: number;
    reason: string;
} | {
    name: "closed";
    code: number;
    reason: string;
};
/**
 * What `on` listens to, and what its listeners get.
 */
export type TextoEvents = {
    /**
     * Somebody has written; `from` is the sender's id, `id` the message's.
     */
    message: {
        id: string;
        from: string;
        text: string;
    };
    /**
     * The state has changed.
     */
    state: TextoState;
    /**
     * So many messages wait for a connection.
     */
    queue: number;
    /**
     * The server complains about something that was no `send`, or (EPROTOCOL) cannot be understood.
     */
    error: TextoError;
};
export type Request = {
    resolve: () => void;
    reject: (error: TextoError) => void;
    size: number;
    timer: any;
};
export type Waiting = Request & {
    to: string;
    text: string;
};
/**
 * `WebSocket` is what to connect with where there is no global one: that of `ws` in Node 20.
 */
export type TextoOptions = Partial<typeof DEFAULTS> & {
    WebSocket?: new (url: string) => any;
};
declare namespace DEFAULTS {
    let connectTimeout: number;
    let requestTimeout: number;
    let queueTimeout: number;
    let queueMax: number;
    let queueCharactersMax: number;
    let backoffBase: number;
    let backoffMax: number;
    let restartSpread: number;
    let random: () => number;
}
export {};
