//! Tries what Rust programs ask of a kernel: threads, waiting, unwinding, files, time.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};
use std::{env, fs, panic, process, thread};

thread_local!(static COUNT: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });

fn threads() {
    let (sender, receiver) = mpsc::channel();
    let workers: Vec<_> = (0..8u64)
        .map(|id| {
            let sender = sender.clone();
            thread::spawn(move || {
                for number in 0..100 {
                    sender.send(id * number).unwrap();
                    COUNT.with(|count| count.set(count.get() + 1));
                }
                COUNT.with(std::cell::Cell::get)
            })
        })
        .collect();
    drop(sender);
    let sum: u64 = receiver.iter().sum();
    let counts: u32 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    println!("threads {sum} {counts}");
}

fn waiting() {
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let barrier = Arc::new(Barrier::new(2));
    let other = {
        let (pair, barrier) = (pair.clone(), barrier.clone());
        thread::spawn(move || {
            barrier.wait();
            thread::sleep(Duration::from_millis(5));
            *pair.0.lock().unwrap() = true;
            pair.1.notify_one();
        })
    };
    barrier.wait();
    let mut ready = pair.0.lock().unwrap();
    while !*ready {
        ready = pair.1.wait(ready).unwrap();
    }
    let (guard, outcome) = pair.1.wait_timeout(ready, Duration::from_millis(5)).unwrap();
    other.join().unwrap();
    println!("waiting {} {}", *guard, outcome.timed_out());
}

fn panics() {
    panic::set_hook(Box::new(|_| {}));
    let caught = panic::catch_unwind(|| panic!("caught"));
    let joined = thread::spawn(|| panic!("in a thread")).join();
    let message = caught.unwrap_err();
    println!("panics {:?} {}", message.downcast_ref::<&str>(), joined.is_err());
}

fn files() -> std::io::Result<()> {
    let directory = env::temp_dir().join("rust-files");
    fs::create_dir_all(directory.join("a/b"))?;
    let path = directory.join("a/b/file");
    let mut file = fs::File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
    file.write_all(b"0123456789")?;
    file.seek(SeekFrom::Start(4))?;
    let mut rest = String::new();
    file.read_to_string(&mut rest)?;
    fs::copy(&path, directory.join("copy"))?;
    fs::rename(directory.join("copy"), directory.join("moved"))?;
    let mut names: Vec<_> = fs::read_dir(&directory)?.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let missing = fs::metadata(directory.join("copy")).unwrap_err().kind();
    println!("files {rest} {names:?} {missing:?} {}", fs::metadata(&path)?.len());
    fs::remove_dir_all(&directory)
}

fn main() {
    threads();
    waiting();
    panics();
    files().unwrap();
    let mut words: HashMap<String, usize> = HashMap::new();
    for number in 0..10_000 {
        *words.entry(format!("word {}", number % 100)).or_default() += number;
    }
    let shared = RwLock::new(words);
    println!("map {} {}", shared.read().unwrap().len(), shared.read().unwrap()["word 7"]);
    let start = Instant::now();
    thread::sleep(Duration::from_millis(3));
    println!("time {}", start.elapsed() >= Duration::from_millis(3));
    println!("environment {:?} {}", env::var("NOT_THERE").is_err(), env::args().count());
    process::exit(9);
}
