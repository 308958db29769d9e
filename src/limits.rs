//! Every bound of Texto: its value, its unit, why it is what it is, and what happens when it is reached.
//!
//! What an operator may change is a setting (see `config.rs`) and stands here only with the range of the setting; the rest is fixed.

/// Bytes of the one read buffer of an event loop, and so the most that one connection may say per tick. 64 KiB is what a socket holds by
/// default, and half of a level-2 cache.
pub const SCRATCH_BYTES: usize = 64 * 1024;

/// Bytes that are read of a connection when something comes. A read that is filled puts its connection behind the others, and the next one
/// takes twice as much or half, as [`MESSAGES_PER_READ`] says. This is some forty messages of the usual size, and a few of a kilobyte.
pub const FIRST_READ_BYTES: usize = 8 * 1024;

/// The least that is read at once, however small the frames are: some eighty of the smallest.
pub const READ_BYTES_MIN: usize = 512;

/// Messages and control frames in a filled read above which the next one takes half as much, and up to which it takes twice as much. They
/// take some fifty microseconds, of which a system call to read more is a small part.
pub const MESSAGES_PER_READ: usize = 32;

/// Connections that had more to say than one read takes which are gone on with per tick. The others wait for their turn. So a crowd of
/// flooders keeps whoever has little to say waiting for some tenth of a millisecond, like two of them.
pub const BACKLOG_READS_PER_TICK: usize = 2;

/// Events taken from the kernel per tick. The rest waits for the next one.
pub const EVENTS_PER_TICK: usize = 1024;

/// Connections accepted per tick and loop. The rest waits in the kernel's backlog, so a storm does not starve those who are served: a tick
/// that accepts as many, and attends to [`MOVES_PER_TICK`], takes some tenth of a millisecond. What a tick costs by itself is
/// one hundredth of what they cost.
pub const ACCEPT_BATCH_MAX: usize = 8;

/// Connections that come or go which are read in one tick: opening handshakes, closing ones, ends. The rest waits for the next tick.
pub const MOVES_PER_TICK: usize = 8;

/// Length of the kernel's queue of connections not yet accepted. The kernel caps it at `net.core.somaxconn`; beyond that, it drops.
pub const BACKLOG: i32 = 65_535;

/// Milliseconds that a loop leaves its listener alone after the process or the system ran out of descriptors. No new event comes for
/// a connection that is already waiting, so the loop has to ask again by itself.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// Bytes of a request head (RFC 9112 section 2). Beyond: 431. Twice what common servers allow, for long cookies.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header fields in a request head. Beyond: 431. Browsers send about 15, proxies add a few.
pub const HEADER_FIELDS_MAX: usize = 100;

/// Bytes of a PROXY header, with its extensions. Beyond: 400. Balancers send some tens, and a few hundred where they add what they know of TLS.
pub const PROXY_HEADER_BYTES_MAX: usize = 4096;

/// Parts of the table in which connections are counted by address, each behind a lock of its own, so that loops seldom wait for each other.
pub const ADDRESS_SHARDS: usize = 32;

/// Messages above the rate that weigh as much as one below it. Who has sent as many for each that the rate allows in a second, and was not
/// forgiven any by time, is closed with 1008.
pub const EXCESS_MESSAGES: u32 = 4;

/// Settings' range: networks that proxies are trusted in. Each connection's address is compared with all of them.
pub const TRUSTED_NETWORKS_MAX: usize = 256;

/// Settings' range: origins that may open WebSockets. Each handshake's is compared with all of them.
pub const ALLOWED_ORIGINS_MAX: usize = 256;

/// Bytes of the longest frame header (RFC 6455 section 5.2): 2, a length of 8, a mask of 4.
pub const FRAME_HEADER_BYTES_MAX: usize = 14;

/// Bytes in the payload of a control frame (RFC 6455 section 5.5). Beyond: 1002.
pub const CONTROL_BYTES_MAX: usize = 125;

/// Levels of nesting in a client's JSON, the document itself being the first: what serde_json's limit on recursion allows. Beyond:
/// `ESYNTAX`.
pub const JSON_DEPTH_MAX: usize = 127;

/// Bytes around the text in the longest message that the server makes of a client's: frame header, envelope, three UUIDs. The outgoing
/// queue of a connection must hold a message of the largest size with this around it.
pub const ENVELOPE_BYTES_MAX: usize = 1024;

/// Settings' range: bytes of one message. Autobahn's largest is 16 MiB.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Settings' range: messages per second on one connection. The debt of a connection is kept in 16 bits, see `hub/connection.rs`.
pub const MESSAGE_RATE_MAX: u32 = 16_000;

/// Event loops in a node: a client's id has 8 bits for the number of its loop.
pub const LOOPS_MAX: usize = 256;

/// Connections in one loop: an entry of the directory has 24 bits for the slot. Beyond: 503.
pub const CONNECTIONS_PER_LOOP_MAX: usize = (1 << 24) - 1;

/// Connections above the operator's limit that may be open for a moment, to be told 503. Beyond: closed without a word.
pub const REFUSED_CONNECTIONS_MAX: usize = 256;

/// Descriptors that are neither connections nor a loop's: standard streams, signals, Redis, the operator's side with its connections.
pub const RESERVED_DESCRIPTORS: u64 = 64 + REFUSED_CONNECTIONS_MAX as u64;

/// Descriptors of an event loop: listener, epoll, eventfd, and one to spare.
pub const DESCRIPTORS_PER_LOOP: u64 = 4;

/// Descriptors that the kernel's table is made for at the start. At 8 bytes each this is 8 MiB; beyond, the table grows as it needs.
pub const RESERVED_TABLE_MAX: u64 = 1 << 20;

/// Seconds in `Retry-After` with a 503: long enough for a crowd to thin out, short enough for a person to wait.
pub const RETRY_AFTER_SECONDS: u32 = 5;

/// Entries in one segment of the directory: 2 KiB, which are split in some ten microseconds, so a growing table never stalls its loop.
pub const SEGMENT_ENTRIES: usize = 512;

/// Entries used of a segment before it is split: seven eighths, beyond which probing gets long.
pub const SEGMENT_ENTRIES_MAX: usize = SEGMENT_ENTRIES / 8 * 7;

/// Entries in two neighbouring segments together below which they become one again: far from a new split.
pub const SEGMENT_ENTRIES_MERGED: usize = SEGMENT_ENTRIES / 4;

/// Milliseconds in which every connection is looked at once for its deadlines, so each of them is kept to within this time.
pub const REVOLUTION_MS: u64 = 1_000;

/// Slots looked at in one step of a revolution, as long as that makes no more than [`REVOLUTION_STEPS_MAX`] steps. Clients that fell silent
/// together are pinged in the same steps, so this is also how many pings may be sent in one tick: some milliseconds' worth.
pub const STEP_SLOTS: usize = 1024;

/// Steps in one revolution. At a million connections a step looks at 4,000 slots, 128 KiB.
pub const REVOLUTION_STEPS_MAX: usize = 250;

/// Milliseconds between two steps of a drain.
pub const DRAIN_STEP_MS: u64 = 20;

/// Work boxes that a loop keeps for the next connection that has something to say, instead of going to the allocator for each.
pub const SPARES_MAX: usize = 256;

/// Work boxes that a loop keeps when it has been quiet for a while.
pub const SPARES_KEPT: usize = 8;

/// Bytes of outgoing queue that a kept work box may hold on to. A larger queue goes back to the allocator.
pub const SPARE_BYTES_MAX: usize = 4096;

/// Posts waiting in the mailbox of a loop. Beyond: a message from a sibling is refused (`EBROKER`), one from Redis is dropped and counted.
pub const MAILBOX_POSTS_MAX: usize = 1 << 18;

/// Bytes of text waiting in the mailbox of a loop. Beyond: as for [`MAILBOX_POSTS_MAX`]. Settlements are always taken: each answers a
/// request that is in the publisher's queue, which is bounded, or was refused at once in this tick or the one before.
pub const MAILBOX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Posts that an empty mailbox keeps room for. What a flood needed above this goes back to the allocator.
pub const POSTS_KEPT: usize = 4096;

/// Milliseconds in which nobody comes or goes after which a loop gives memory back.
pub const QUIET_MS: u64 = 1_000;

/// Milliseconds after which a loop gives memory back although clients go on coming and going: on a large node there is never a quiet second.
pub const UNQUIET_MS_MAX: u64 = 30_000;

/// Connections come or gone that make it worth asking the allocator to give memory back, which takes it milliseconds. What fewer leave behind
/// is some megabytes at most: larger blocks go back to the system by themselves, see `runtime/sys.rs`.
pub const MOVED_TO_TRIM: usize = 32;

/// Bytes that an entry is counted with besides its text: its slot here, its allocation, and its recipient in the table, each with the
/// slack that growing containers have. So the bound on bytes holds for a flood of empty texts, too.
pub const PUBLICATION_BYTES: usize = 256;

/// Messages not settled, whatever their size. Beyond: `EBROKER`. With [`PUBLICATION_BYTES`] this is 64 MiB.
pub const PUBLICATIONS_MAX: usize = 1 << 18;

/// Tombstones not settled. They only arise when the queue is full, one for each further send to a recipient that has messages in it.
/// Beyond, the refusal is given at once and out of its place: memory comes before order.
pub const TOMBSTONES_MAX: usize = 1 << 16;

/// Entries taken at once. Their answers are handed over together, so the first waits for the last: half a millisecond at Redis' pace.
pub const PUBLISH_BATCH_ENTRIES_MAX: usize = 512;

/// Bytes of messages taken at once, unless the first alone has more: what fits into the buffers of a socket without waiting.
pub const PUBLISH_BATCH_BYTES_MAX: usize = 128 * 1024;

/// Slots that the empty queue and its table keep. What a flood left above this goes back to the allocator.
pub const PUBLICATION_SLOTS_KEPT: usize = 4096;

/// Bytes that are sent to Redis between two looks at the clock. A batch of small messages goes out at once.
pub const PIPELINE_PIECE_BYTES: usize = 64 * 1024;

/// Bytes of the buffer for commands that are kept between batches: one full batch. A larger message gives its part back.
pub const PIPELINE_BYTES_KEPT: usize = 256 * 1024;

/// Probes in a row that may be missed: with the third, messages are held not to come round. One may be lost to a link that was made anew,
/// and two to a busy moment.
pub const PROBE_MISSES_MAX: usize = 3;

/// Probes under way that are remembered. Beyond, the oldest is held to be lost; at the default interval, that is after half a minute.
pub const PROBES_MAX: usize = 16;

/// Sentinels in one address: each has a thread that listens to it. Groups have three or five. Beyond, the node does not start.
pub const SENTINELS_MAX: usize = 16;

/// Attempts to connect to Redis or a Sentinel that may hang in the resolver or in a Unix socket at once, for each thread that connects;
/// each of them is a thread that was left behind. Beyond, no other is begun before one of them has ended.
pub const DIALS_MAX: usize = 4;

/// Bytes of lines that wait to be written: some ten thousand lines. Beyond, a line is dropped and counted.
pub const LOG_BYTES_MAX: usize = 1024 * 1024;

/// Characters of one message. Beyond, it is cut.
pub const LOG_MESSAGE_CHARS_MAX: usize = 4096;

/// Lines of one kind that may be logged at once. Beyond, they are counted and left out, but for one per [`LOG_KIND_INTERVAL_MS`].
pub const LOG_KIND_BURST: u32 = 20;

/// Milliseconds in which one line more of a kind may be logged: six a minute tell that something goes on, and leave the rest readable.
pub const LOG_KIND_INTERVAL_MS: u64 = 10_000;

/// Characters of a line that are kept to say what was left out.
pub const LOG_SAMPLE_CHARS: usize = 200;

/// Bytes of a node's page that `texto top` reads: a node of 256 loops writes half a megabyte. Beyond, it is given up.
pub const TOP_PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Settings' range: connections of a node. One loop alone could hold them.
pub const CONNECTIONS_MAX: usize = 16_000_000;

/// Settings' range: connections that a node takes per second, far more than it can.
pub const ACCEPT_RATE_MAX: u32 = 1_000_000;

/// Settings' range: bytes of memory of the process. A node without clients has some 20 MiB.
pub const MEMORY_BYTES: std::ops::RangeInclusive<usize> = 64 * 1024 * 1024..=1024 * 1024 * 1024 * 1024;

/// Milliseconds between two looks at the memory of the process, which are made only as connections come. At most 100,000 come meanwhile.
pub const MEMORY_LOOK_MS: u64 = 500;

/// Settings' range: frames of one message.
pub const MESSAGE_FRAGMENTS_MAX: u32 = 1_000_000;

/// Settings' range: bytes that may wait for one client.
pub const OUTBOX_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Settings' range: bytes of messages that may wait for Redis.
pub const PUBLISH_QUEUE_BYTES: std::ops::RangeInclusive<usize> = 64 * 1024..=16 * 1024 * 1024 * 1024;

const _: () = assert!(SEGMENT_ENTRIES.is_power_of_two());
const _: () = assert!(SEGMENT_ENTRIES_MERGED < SEGMENT_ENTRIES_MAX / 2);
const _: () = assert!(HEAD_BYTES_MAX < SCRATCH_BYTES);
const _: () = assert!(READ_BYTES_MIN <= FIRST_READ_BYTES && FIRST_READ_BYTES <= SCRATCH_BYTES);
const _: () = assert!(PROBE_MISSES_MAX < PROBES_MAX);
const _: () = assert!((REVOLUTION_MS as usize).is_multiple_of(REVOLUTION_STEPS_MAX));
