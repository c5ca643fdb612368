use super::*;
use crate::reload;
use crate::session::directory::InstanceId;
use crate::session::keyring::new_pem;
use std::os::unix::fs::symlink;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const MAX_AGE: Duration = Duration::from_secs(60);

/// A folder that goes with its test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("fray-folder-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("made");
        Self(dir)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.0.join(name), content).expect("written");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.join(name)).expect("removed");
    }

    /// As if it had been there for so long.
    fn age(&self, name: &str, by: Duration) {
        let file = fs::File::options().append(true).open(self.0.join(name)).expect("it is there");
        file.set_modified(SystemTime::now() - by).expect("set");
    }

    fn open(&self) -> (Arc<Keys>, Folder) {
        let metrics = Arc::new(Metrics::default());
        Folder::open(&self.0, MAX_AGE, &metrics).expect("a folder with a key")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pem() -> String {
    new_pem().expect("a key")
}

/// Where what is signed is shown.
const THERE: &str = "10.0.0.2:7782";

/// Something signed; which of the things that are signed is all the same here.
fn signed(keys: &Keys) -> String {
    keys.sign_peer(&InstanceId::random(), THERE).expect("signed")
}

fn ids(keys: &Keys) -> Vec<String> {
    keys.ring().ids().map(str::to_owned).collect()
}

fn signer(keys: &Keys) -> String {
    keys.ring().signer().id().to_owned()
}

/// Lets virtual time go on for as long as a look into the folder needs.
async fn after(time: Duration) {
    tokio::time::sleep(time + Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_rotated_without_a_ticket_that_nobody_knows() {
    let dir = Dir::new("rotation");
    dir.write("2026-01.pem", &pem());
    let (keys, folder) = dir.open();
    let metrics = Arc::clone(&folder.metrics);
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(reload::keep(folder, metrics, stop.clone()));
    let old = signed(&keys);

    dir.write("2026-02.pem", &pem());
    after(reload::EVERY).await;
    assert_eq!(ids(&keys), ["2026-01", "2026-02"], "both verify, and are shown to all");
    assert_eq!(keys.ring().jwks().keys.len(), 2);
    assert_eq!(signer(&keys), "2026-01", "others may not have heard of the new one");
    // Until twice the time has passed for which anybody may keep what he fetched just before.
    after((2 * MAX_AGE).saturating_sub(reload::EVERY)).await;
    assert_eq!(signer(&keys), "2026-01");
    after(reload::EVERY).await;
    assert_eq!(signer(&keys), "2026-02");
    let new = signed(&keys);
    keys.verify_peer(&old, THERE).expect("still good");
    keys.verify_peer(&new, THERE).expect("good");

    dir.remove("2026-01.pem");
    after(reload::EVERY).await;
    assert!(keys.verify_peer(&old, THERE).is_err(), "its key is gone");
    keys.verify_peer(&new, THERE).expect("good");
    assert_eq!(ids(&keys), ["2026-02"]);
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_believes_what_files_say_of_their_age() {
    let dir = Dir::new("age");
    for name in ["a.pem", "b.pem", "c.pem"] {
        dir.write(name, &pem());
    }
    assert_eq!(signer(&dir.open().0), "a", "all are new");
    dir.age("a.pem", Duration::from_secs(3600));
    dir.age("b.pem", Duration::from_secs(300));
    let (keys, mut folder) = dir.open();
    assert_eq!(signer(&keys), "b");
    // But not what a file says that came later: this server has shown it to nobody.
    dir.write("d.pem", &pem());
    dir.age("d.pem", Duration::from_secs(3600));
    assert_eq!(folder.reload(Instant::now()), Ok(true));
    assert_eq!((ids(&keys).len(), signer(&keys).as_str()), (4, "b"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_used_leaves_what_was_good() {
    let dir = Dir::new("broken");
    let good = pem();
    dir.write("a.pem", &good);
    let (keys, mut folder) = dir.open();
    let before = signed(&keys);
    let look = |folder: &mut Folder| folder.reload(Instant::now());

    dir.write("a.pem", &good[..good.len() / 2]);
    assert!(look(&mut folder).is_err_and(|why| why.starts_with("a: ")), "it is half written");
    assert_eq!((keys.verify_peer(&before, THERE).is_ok(), ids(&keys)), (true, vec!["a".into()]));
    dir.write("a.pem", &good);
    assert_eq!(look(&mut folder), Ok(false));

    dir.write("b.pem", "nonsense");
    dir.write("c.pem", &"A".repeat(FILE_BYTES_MAX as usize + 1));
    dir.write("d d.pem", &pem());
    let why = look(&mut folder).expect_err("three cannot be used");
    assert!(["b: ", "c: ", "d d: "].iter().all(|name| why.contains(name)), "{why}");
    assert_eq!(ids(&keys), ["a"]);
    for name in ["b.pem", "c.pem", "d d.pem"] {
        dir.remove(name);
    }
    // Other files are nobody's business.
    dir.write("notes.txt", "");
    dir.write(".b.pem", &pem());
    assert_eq!(look(&mut folder), Ok(false));

    dir.remove("a.pem");
    assert!(look(&mut folder).is_err(), "without any key nobody could play");
    fs::remove_dir_all(&dir.0).expect("removed");
    assert!(look(&mut folder).is_err());
    keys.verify_peer(&before, THERE).expect("still good");
}

#[tokio::test(start_paused = true)]
async fn another_key_under_an_old_name_is_a_new_key() {
    let dir = Dir::new("renewed");
    dir.write("a.pem", &pem());
    dir.write("b.pem", &pem());
    dir.age("a.pem", Duration::from_secs(3600));
    dir.age("b.pem", Duration::from_secs(3600));
    let (keys, mut folder) = dir.open();
    let before = signed(&keys);
    assert_eq!(signer(&keys), "b");
    dir.write("b.pem", &pem());
    folder.reload(Instant::now()).expect("sound");
    assert_eq!(signer(&keys), "a", "nobody has seen the new one yet");
    assert!(keys.verify_peer(&before, THERE).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_swapped_as_a_whole_is_read_through() {
    // As Kubernetes mounts secrets: every name is a link into a folder that is itself a link, which is replaced in one step.
    let dir = Dir::new("swap");
    let stand = |version: &str, names: &[&str]| {
        let folder = dir.0.join(version);
        fs::create_dir(&folder).expect("made");
        for name in names {
            fs::write(folder.join(name), pem()).expect("written");
        }
        symlink(version, dir.0.join("..data_tmp")).expect("linked");
        fs::rename(dir.0.join("..data_tmp"), dir.0.join("..data")).expect("swapped");
    };
    stand("..1", &["a.pem"]);
    symlink("..data/a.pem", dir.0.join("a.pem")).expect("linked");
    let (keys, mut folder) = dir.open();
    assert_eq!(ids(&keys), ["a"]);
    // The new link is there before what it leads to, and the old one longer: no key may be lost over it.
    symlink("..data/b.pem", dir.0.join("b.pem")).expect("linked");
    assert!(folder.reload(Instant::now()).is_err(), "b leads nowhere yet");
    assert_eq!(ids(&keys), ["a"]);
    stand("..2", &["b.pem"]);
    let _ = folder.reload(Instant::now());
    assert_eq!(ids(&keys), ["a", "b"], "a leads nowhere, but is still named");
    dir.remove("a.pem");
    assert_eq!(folder.reload(Instant::now()), Ok(true));
    assert_eq!(ids(&keys), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_folder_without_a_key_is_an_error_at_the_start() {
    let dir = Dir::new("empty");
    let metrics = Arc::new(Metrics::default());
    let opened =
        |dir: &Path| Folder::open(dir, MAX_AGE, &metrics).map(|_| ()).map_err(|e| e.to_string());
    assert!(opened(&dir.0).is_err_and(|said| said.contains("there is no key")));
    assert!(opened(&dir.0.join("nowhere")).is_err_and(|said| said.contains("nowhere")));
    dir.write("a.pem", "nonsense");
    assert!(opened(&dir.0).is_err());
    dir.write("b.pem", &pem());
    assert_eq!(opened(&dir.0), Ok(()), "one that is sound is enough");
}
