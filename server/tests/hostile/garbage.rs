//! Bytes that mean nothing.

use crate::attacker::{Scene, breath};
use crate::frames::{PREFACE, frame, headers, request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The same numbers in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// Sends this and nothing more, and takes whatever comes.
async fn said_and_done(scene: &Scene, bytes: &[u8]) {
    let mut pipe = scene.net.pipe();
    let _ = pipe.write_all(bytes).await;
    let _ = pipe.shutdown().await;
    let _ = pipe.read_to_end(&mut Vec::new()).await;
}

#[tokio::test(start_paused = true)]
async fn garbage_ends_its_own_connection() {
    let scene = Scene::new(&[]).await;
    let mut numbers = Numbers(0x6a61_6c61);
    for _ in 0..200 {
        let length = numbers.next() as usize % 5000 + 1;
        said_and_done(&scene, &numbers.bytes(length)).await;
        breath().await;
    }
    let ended =
        |scene: &Scene| scene.ended("garbage") + scene.ended("gone") + scene.ended("closed");
    scene.until("each is counted", |scene| ended(scene) >= 200).await;
    assert!(scene.ended("garbage") > 150);
    for known in [
        // A TLS client, a proxy's PROXY line, an SSH client, a request of HTTP/1.0 without a host, one whose line is too long.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        [b"GET /".to_vec(), vec![b'a'; 100_000]].concat(),
        [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 100_000]].concat(),
    ] {
        said_and_done(&scene, &known).await;
    }
    scene.stays_as_before().await;
}

#[tokio::test(start_paused = true)]
async fn so_do_frames_full_of_it() {
    let scene = Scene::new(&["--allow-guests"]).await;
    let mut numbers = Numbers(0x6672_6179);
    for round in 0..400 {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        bytes.extend(headers(1, &request("/fray.v1.Play/Play"), 0));
        for _ in 0..numbers.next() % 20 {
            let (kind, flags, stream) = (numbers.next(), numbers.next(), numbers.next());
            let length = numbers.next() as usize % 200;
            let payload = numbers.bytes(length);
            // Kinds that there are, mostly, of streams that there are.
            bytes.extend(frame((kind % 11) as u8, flags as u8, (stream % 4) as u32, &payload));
        }
        if round % 2 == 0 {
            let length = numbers.next() as usize % 50;
            bytes.extend(numbers.bytes(length));
        }
        said_and_done(&scene, &bytes).await;
        breath().await;
    }
    scene.stays_as_before().await;
}
