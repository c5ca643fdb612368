//! A real NATS with JetStream, on a port of its own, that can be stopped, killed and started again; and a way to it that can be cut.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

use super::programs::{program, signal};
use async_nats::Client;
use fray_server::store::JetStreamStore;
use fray_server::store::jetstream::Options;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;

/// A long time, after which a test that waits gives up.
pub const WAIT: Duration = Duration::from_secs(60);

/// A NATS server. It is gone with the test, and so is all that it kept.
pub struct Nats {
    program: PathBuf,
    folder: PathBuf,
    child: Child,
    port: u16,
    more: String,
}

impl Nats {
    /// `None` where it is not installed.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// With more lines of configuration.
    pub fn start_with(more: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let program = program("nats-server")?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fray-nats-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let child = run(&program, &folder, -1, more);
        let port = 0;
        let mut nats = Self { program, folder, child, port, more: more.into() };
        nats.port = nats.until_it_listens();
        Some(nats)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It stands still, and answers nobody.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Ends it at once: nothing is written any more.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port, with what it kept.
    pub fn start_again(&mut self) {
        let port = i32::from(self.port);
        self.child = run(&self.program, &self.folder, port, &self.more);
        assert_eq!(self.until_it_listens(), self.port);
    }

    /// All that it kept is gone. It must not run.
    pub fn wipe(&self) {
        fs::remove_dir_all(self.folder.join("jetstream")).expect("it was there");
    }

    /// It says in a file where it listens.
    fn until_it_listens(&mut self) -> u16 {
        let file = self.folder.join(format!("nats-server_{}.ports", self.child.id()));
        for _ in 0..WAIT.as_millis() / 20 {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "NATS ended: {ended:?} {}", self.log());
            let text = fs::read_to_string(&file).unwrap_or_default();
            // Of `{"nats": ["nats://127.0.0.1:4222"], ...}`.
            let port = text.split("nats://127.0.0.1:").nth(1);
            let port = port.and_then(|rest| rest.split('"').next()?.parse().ok());
            if let Some(port) = port {
                return port;
            }
            pause();
        }
        panic!("NATS does not listen: {}", self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing else happens on this thread")]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// NATS acknowledges before it has written, unless it is told to sync: what it then loses when it is killed, nobody else can bring back.
fn run(program: &Path, folder: &Path, port: i32, more: &str) -> Child {
    let config = folder.join("nats.conf");
    let folder_text = folder.display();
    let text = format!(
        "listen: \"127.0.0.1:{port}\"\nports_file_dir: \"{folder_text}\"\n\
         jetstream {{ store_dir: \"{folder_text}\", sync_interval: always }}\n{more}\n"
    );
    fs::write(&config, text).expect("a file");
    let log = fs::File::create(folder.join("log")).expect("a file");
    let mut command = Command::new(program);
    command.arg("-c").arg(config).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("NATS starts")
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where stores do their work: tests' own threads wait for it.
pub fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

/// A client that comes back whatever happens.
pub fn connect(runtime: &Runtime, port: u16) -> Client {
    let options = async_nats::ConnectOptions::new()
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(1))
        .reconnect_delay_callback(|_| Duration::from_millis(100));
    let address = format!("nats://127.0.0.1:{port}");
    runtime.block_on(options.connect(address)).expect("a client")
}

pub fn options() -> Options {
    Options { answer_timeout: Duration::from_secs(1), ..Options::default() }
}

/// A store there.
pub fn open(runtime: &Runtime, port: u16, options: Options) -> JetStreamStore {
    let client = connect(runtime, port);
    JetStreamStore::open(client, options, runtime.handle().clone()).expect("a store")
}

/// A way to a server on which connections can break at a chosen moment.
pub struct Proxy {
    port: u16,
    shared: Arc<Way>,
}

struct Way {
    to: u16,
    /// What the server says does not arrive, until connections are cut.
    swallows: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

impl Proxy {
    pub fn new(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Way {
            to,
            swallows: AtomicBool::new(false),
            connections: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let way = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if way.is_over.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(client) = client {
                    way.serve(&client);
                }
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing that the server says arrives.
    pub fn swallow(&self) {
        self.shared.swallows.store(true, Ordering::SeqCst);
    }

    /// Breaks all connections; new ones are as good as ever.
    pub fn cut(&self) {
        self.shared.cut();
        self.shared.swallows.store(false, Ordering::SeqCst);
    }
}

impl Way {
    fn serve(self: &Arc<Self>, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.to)) else { return };
        let copies = |stream: &TcpStream| stream.try_clone().expect("a copy of a socket");
        self.connections.lock().expect("no panic").extend([copies(client), copies(&server)]);
        let (up, down) = ((copies(client), copies(&server)), (server, copies(client)));
        std::thread::spawn(move || pass(up.0, up.1, |_| true));
        let way = Arc::clone(self);
        std::thread::spawn(move || {
            pass(down.0, down.1, |_| !way.swallows.load(Ordering::SeqCst));
        });
    }

    fn cut(&self) {
        for connection in self.connections.lock().expect("no panic").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(&[u8]) -> bool) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if passes(&bytes[..count]) && to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.cut();
        // So that it notices.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
