use serde_json::json;

use super::*;

/// A folder of a test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("reprise-archive-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn written(path: &Path) {
    let mut writer = Writer::create(path).unwrap();
    for n in 0..3 {
        writer
            .add(&format!("items/{n}.jsonl"), format!("{{\"n\":{n},\"noise\":\"{}\"}}\n", fastrand::u64(..)).repeat(50).as_bytes())
            .unwrap();
    }
    let manifest = json!({"parts": writer.parts(), "sha256": sum_of(writer.parts())});
    writer.finish(&manifest).unwrap();
}

#[test]
fn what_was_written_is_read_and_nothing_else_is_left() {
    let folder = Folder::new("whole");
    let path = folder.0.join("a.tar.gz");
    written(&path);
    let mut names = Vec::new();
    read(&path, |name, bytes| {
        assert!(!bytes.is_empty());
        names.push(name.to_owned());
        Ok(())
    })
    .unwrap();
    assert_eq!(names, ["items/0.jsonl", "items/1.jsonl", "items/2.jsonl"]);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    assert!(Writer::create(&path).is_err(), "an archive is never written over");
    drop(Writer::create(&folder.0.join("b.tar.gz")).unwrap());
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "one that was not finished leaves nothing behind");
}

#[test]
fn a_changed_byte_anywhere_a_cut_and_an_appendix_are_refused() {
    let folder = Folder::new("damaged");
    let (path, other) = (folder.0.join("a.tar.gz"), folder.0.join("b.tar.gz"));
    written(&path);
    let whole = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&other, bytes).unwrap();
        let read = read(&other, |_, _| Ok(()));
        assert!(read.is_err(), "{what} was taken");
    };
    for at in 0..whole.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            refused(&bytes, &format!("byte {at} of {} with {flip:#x}", whole.len()));
        }
    }
    for cut in [0, 5, 10, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..cut], &format!("the first {cut} bytes"));
    }
    refused(&[whole.as_slice(), b"x"].concat(), "an appendix");
    refused(&[whole.as_slice(), &whole].concat(), "the same again behind it");
}

#[test]
fn an_archive_that_somebody_packed_anew_without_a_part_is_refused() {
    let folder = Folder::new("packed");
    let path = folder.0.join("a.tar.gz");
    let mut writer = Writer::create(&path).unwrap();
    writer.add("items/0.jsonl", b"{}\n").unwrap();
    let parts = [writer.parts().to_vec(), vec![Part { name: "items/1.jsonl".into(), bytes: 3, sha256: sum(b"{}\n") }]].concat();
    writer.finish(&json!({"parts": parts, "sha256": sum_of(&parts)})).unwrap();
    let error = read(&path, |_, _| Ok(())).unwrap_err().render();
    assert!(error.contains("not those that its manifest names"), "{error}");
}

#[test]
fn a_file_that_somebody_put_there_meanwhile_is_not_written_over() {
    let folder = Folder::new("meanwhile");
    let path = folder.0.join("a.tar.gz");
    let writer = Writer::create(&path).unwrap();
    std::fs::write(&path, "theirs").unwrap();
    let error = writer.finish(&json!({})).unwrap_err().render();
    assert!(error.contains("cannot write"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "nothing else is left");
}
