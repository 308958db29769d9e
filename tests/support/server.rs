//! The other place where a transcript is played: the program itself, on a free port of loopback.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::transcript::RedisAct;
use super::world::{Came, World};

/// How long a server may take to be ready, and how much longer than it should an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server. It ends with the value.
pub(crate) struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Starts the program with these settings and waits until it says where it listens.
    pub(crate) fn start(settings: &[(String, String)]) -> Result<Server, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_texto"));
        command.env_clear().env("HOST", "127.0.0.1").env("PORT", "0");
        command.env("TEXTO_LOOPS", "2").env("TEXTO_ADMIN_ADDRESS", "off").env("TEXTO_DRAIN_TIME", "0s");
        for (name, value) in settings {
            match name.as_str() {
                // The port of discard on loopback: nothing listens there.
                "redis" => command.env("REDIS_URL", "redis://127.0.0.1:9"),
                _ => command.arg(format!("--{name}")).arg(value),
            };
        }
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let lines = lines_of(process.stderr.take().expect("standard error is piped"));
        let mut server = Server { process, address: String::new() };
        server.address = await_address(&lines)?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().expect("a child that was not waited for can be killed");
        self.process.wait().expect("a killed child ends");
    }
}

/// The lines that a program writes, read by a thread so that it never has to wait.
fn lines_of(stderr: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // Nobody listens any more when the server is ready; the pipe is emptied nevertheless.
            let _ignored = sender.send(line);
        }
    });
    receiver
}

fn await_address(lines: &mpsc::Receiver<String>) -> Result<String, String> {
    let mut said = Vec::new();
    while let Ok(line) = lines.recv_timeout(PATIENCE) {
        if let Some((_, address)) = line.split_once("listens on ") {
            return Ok(address.split([' ', ',']).next().unwrap_or_default().to_owned());
        }
        said.push(line);
    }
    Err(format!("the program did not say `listens on ADDRESS`; it said:\n    {}", said.join("\n    ")))
}

/// Clients of whoever listens on an address.
pub(crate) struct ServerWorld<'s> {
    address: &'s str,
    /// A reset is an end like any other: a proxy resets connections that it ends with bytes unread.
    takes_resets: bool,
    clients: Vec<Option<TcpStream>>,
}

impl ServerWorld<'_> {
    /// Clients, none yet.
    pub(crate) fn new(address: &str) -> ServerWorld<'_> {
        ServerWorld { address, takes_resets: false, clients: Vec::new() }
    }

    /// The same behind a proxy.
    pub(crate) fn proxied(address: &str) -> ServerWorld<'_> {
        ServerWorld { takes_resets: true, ..ServerWorld::new(address) }
    }

    /// Whether this is how a connection may end.
    fn is_end(&self, error: &io::Error) -> bool {
        self.takes_resets && matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
    }

    fn stream(&mut self, client: usize) -> Result<&mut TcpStream, String> {
        self.clients[client].as_mut().ok_or_else(|| "this client has hung up".to_owned())
    }
}

impl World for ServerWorld<'_> {
    fn connect(&mut self) -> Result<usize, String> {
        let stream = TcpStream::connect(self.address).map_err(|error| format!("{}: {error}", self.address))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        self.clients.push(Some(stream));
        Ok(self.clients.len() - 1)
    }

    fn send(&mut self, client: usize, bytes: &[u8]) -> Result<(), String> {
        match self.stream(client)?.write_all(bytes) {
            Err(error) if !self.is_end(&error) => Err(format!("sending failed: {error}")),
            _ => Ok(()),
        }
    }

    fn read(&mut self, client: usize, patience: Duration) -> Result<Came, String> {
        let stream = self.stream(client)?;
        stream.set_read_timeout(Some(patience + PATIENCE)).map_err(|error| error.to_string())?;
        let mut bytes = vec![0; 64 * 1024];
        match stream.read(&mut bytes) {
            Ok(0) => Ok(Came::End),
            Ok(len) => {
                bytes.truncate(len);
                Ok(Came::Bytes(bytes))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(Came::Nothing),
            Err(error) if self.is_end(&error) => Ok(Came::End),
            Err(error) => Err(format!("reading failed: {error}")),
        }
    }

    fn has_come(&mut self, _client: usize) -> Option<bool> {
        None
    }

    /// Nobody reads for a client but itself.
    fn set_reading(&mut self, _client: usize, _is_reading: bool) {}

    fn half_close(&mut self, client: usize) -> Result<(), String> {
        self.stream(client)?.shutdown(Shutdown::Write).map_err(|error| error.to_string())
    }

    fn hang_up(&mut self, client: usize) {
        self.clients[client] = None;
    }

    fn wait(&mut self, _time: Duration) {
        unreachable!("transcripts in which time passes are for the hub");
    }

    fn drain(&mut self, _span: Duration) {
        unreachable!("transcripts that drain are for the hub");
    }

    fn redis(&mut self, _act: RedisAct, _payload: &str) -> Result<String, String> {
        unreachable!("transcripts with a toy Redis are for the hub");
    }

    fn check_end(&mut self) {
        self.clients.clear();
    }
}
