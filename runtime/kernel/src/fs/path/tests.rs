//! Path resolution against a model that knows nothing but strings.

use std::collections::BTreeMap;

use super::*;
use crate::fs::cpio::tests::Writer;
use crate::fs::ramfs::image::mount;
use crate::fs::ROOT_FS;

/// What the model knows of a tree: absolute path to kind, with the target of links.
type Model = BTreeMap<String, Option<&'static str>>;

const FILE: &str = "f";
const DIRECTORIES: [&str; 5] = ["a", "a/b", "a/b/c", "d", "d/e"];
const LINKS: [(&str, &str); 9] = [
    ("a/up", ".."),
    ("a/abs", "/d"),
    ("d/self", "."),
    ("d/loop", "loop"),
    ("d/file", "../a/b/f"),
    ("d/dangling", "nowhere"),
    ("d/slash", "../a/b/f/"),
    ("l", "a/b"),
    ("ll", "l/../up"),
];

fn tree() -> (FsContext, Model) {
    let mut writer = Writer::default().directory(".");
    let mut model = Model::new();
    let mut entries: Vec<(String, Option<&'static str>)> = Vec::new();
    for directory in DIRECTORIES {
        entries.push((directory.into(), None));
    }
    for (name, to) in LINKS {
        entries.push((name.into(), Some(to)));
    }
    for at in ["a/b/f", "g"] {
        entries.push((at.into(), Some(FILE)));
    }
    entries.sort();
    for (name, what) in entries {
        writer = match what {
            None => writer.directory(&name),
            Some(FILE) => writer.file(&name, b"content"),
            Some(to) => writer.link(&name, to),
        };
        model.insert(format!("/{name}"), what);
    }
    let root = mount(&ROOT_FS, writer.finish().leak()).unwrap();
    let context = FsContext {
        cwd: root.clone(),
        root,
        umask: 0,
        uid: 0,
        gid: 0,
        groups: Vec::new(),
    };
    (context, model)
}

/// Resolves by rewriting strings: the canonical path of what a path names.
fn expected(model: &Model, base: &str, path: &str, follow: bool) -> Result<String> {
    let mut links = 0;
    let mut at: Vec<String> = match path.starts_with('/') {
        true => Vec::new(),
        false => base
            .split('/')
            .filter(|p| !p.is_empty())
            .map(Into::into)
            .collect(),
    };
    let mut rest: Vec<String> = parts(path);
    let show = |at: &[String]| format!("/{}", at.join("/"));
    let is_directory = |at: &[String]| at.is_empty() || matches!(model.get(&show(at)), Some(None));
    while !rest.is_empty() {
        let part = rest.remove(0);
        if !is_directory(&at) {
            return Err(Errno::ENOTDIR);
        }
        match part.as_str() {
            "." => continue,
            ".." => {
                at.pop();
                continue;
            }
            _ => at.push(part),
        }
        let found = model.get(&show(&at)).ok_or(Errno::ENOENT)?;
        let Some(to) = found.filter(|&to| to != FILE) else {
            continue;
        };
        if rest.is_empty() && !follow {
            continue;
        }
        links += 1;
        if links > 40 {
            return Err(Errno::ELOOP);
        }
        at.pop();
        if to.starts_with('/') {
            at.clear();
        }
        rest.splice(0..0, parts(to));
    }
    Ok(show(&at))
}

/// The parts of a path; a slash at its end asks for a directory, which `.` does too.
fn parts(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(Into::into)
        .collect();
    if path.ends_with('/') && !parts.is_empty() {
        parts.push(".".into());
    }
    parts
}

fn found(context: &FsContext, base: &Arc<Dentry>, path: &str, follow: bool) -> Result<String> {
    let dentry = context.find(base, path.as_bytes(), follow)?;
    Ok(String::from_utf8(dentry.path()).unwrap())
}

#[test]
fn random_paths_lead_where_the_model_says() {
    let (context, model) = tree();
    let names = [
        "a", "b", "c", "d", "e", "f", "g", "l", "ll", "up", "abs", "self", "loop", "file", "..",
        ".", "dangling", "slash", "x",
    ];
    let mut state = 7u32;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize % below
    };
    let mut reached = 0;
    for _ in 0..200_000 {
        let mut path = String::new();
        if next(4) == 0 {
            path.push('/');
        }
        for index in 0..1 + next(5) {
            if index > 0 {
                path.push_str(["/", "/", "/", "//"][next(4)]);
            }
            path.push_str(names[next(names.len())]);
        }
        if next(5) == 0 {
            path.push('/');
        }
        let base = ["/", "/a/b", "/d"][next(3)];
        let base_dentry = context.find(&context.root, base.as_bytes(), true).unwrap();
        let follow = next(2) == 0;
        let expected = expected(&model, base, &path, follow);
        reached += usize::from(expected.is_ok());
        assert_eq!(
            found(&context, &base_dentry, &path, follow),
            expected,
            "{path} from {base}, follow {follow}"
        );
    }
    assert!(reached > 10_000, "the paths lead too seldom to anything");
}

#[test]
fn nothing_leads_out_of_the_root() {
    let (mut context, _) = tree();
    context.root = context.find(&context.root, b"a", true).unwrap();
    context.cwd = context.root.clone();
    let path = |path: &str| {
        let found = context.find(&context.cwd, path.as_bytes(), true)?;
        Ok(context.path_of(&found))
    };
    assert_eq!(path(".."), Ok((b"/".to_vec(), true)));
    assert_eq!(path("b/../../../b"), Ok((b"/b".to_vec(), true)));
    assert_eq!(path("/b/c"), Ok((b"/b/c".to_vec(), true)));
    assert_eq!(path("up/b"), Ok((b"/b".to_vec(), true)));
    assert_eq!(path("abs"), Err(Errno::ENOENT));
}

#[test]
fn rules_of_openat2_are_kept() {
    let (context, _) = tree();
    let base = context.find(&context.root, b"d", true).unwrap();
    let walk = |path: &str, rules: Rules| {
        let walked = context.walk(&base, path.as_bytes(), true, rules)?;
        walked.existing().map(|found| found.path())
    };
    assert_eq!(walk("../g", Rules::empty()), Ok(b"/g".to_vec()));
    assert_eq!(walk("../g", Rules::BENEATH), Err(Errno::EXDEV));
    assert_eq!(walk("file", Rules::BENEATH), Err(Errno::EXDEV));
    assert_eq!(walk("e/../self/e", Rules::BENEATH), Ok(b"/d/e".to_vec()));
    assert_eq!(walk("/e", Rules::BENEATH), Err(Errno::EXDEV));
    assert_eq!(walk("/e/../..", Rules::IN_ROOT), Ok(b"/d".to_vec()));
    assert_eq!(walk("self/e", Rules::NO_SYMLINKS), Err(Errno::ELOOP));
    assert_eq!(walk("e", Rules::NO_SYMLINKS), Ok(b"/d/e".to_vec()));
}

#[test]
fn lengths_are_limited() {
    let (context, _) = tree();
    let find = |path: &[u8]| context.find(&context.root, path, true).map(|d| d.path());
    let exactly = [b"./".repeat(2046), b"../g".to_vec()[1..].to_vec()].concat();
    assert!(exactly.len() < PATH_MAX);
    assert_eq!(find(&exactly), Ok(b"/g".to_vec()));
    assert_eq!(find(&b"./".repeat(2048)), Err(Errno::ENAMETOOLONG));
    assert_eq!(find(&[b'n'; 255]), Err(Errno::ENOENT));
    assert_eq!(find(&[b'n'; 256]), Err(Errno::ENAMETOOLONG));
    assert_eq!(find(b""), Err(Errno::ENOENT));
}
