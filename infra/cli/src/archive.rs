//! Archives that are whole or refused: a gzipped tar of files, the last of which names every other with its sum.
//!
//! Written to a file beside the target, to the disk, and only then given its name. The comment in gzip's header is the sum of all bytes
//! behind it, so that one changed bit anywhere is found before anything is unpacked. `tar xzf` reads them as well.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// The last file of an archive, and the sum of that.
pub(crate) const MANIFEST: &str = "manifest.json";
const MANIFEST_SUM: &str = "manifest.json.sha256";
/// What gzip begins with as we write it: a comment, no name, no time.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 255];
/// Signs of the comment, which ends with a zero.
const COMMENT: usize = 64;
/// Where what it is the sum of begins.
const BODY: usize = HEADER.len() + COMMENT + 1;
/// Bytes of the largest file that is read: pages of a backup are far smaller, and a bad archive must not fill the memory.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// An archive that is being written. What is not its end leaves nothing behind.
pub(crate) struct Writer {
    tar: Option<tar::Builder<GzEncoder<BufWriter<File>>>>,
    parts: Vec<Part>,
    unfinished: PathBuf,
    target: PathBuf,
    mtime: u64,
}

impl Writer {
    /// For a file that is not there yet.
    pub(crate) fn create(target: &Path) -> Result<Self> {
        if target.exists() {
            return Err(Error::unreachable(format!("{} is there already", target.display())).with_hint("give another name with --out"));
        }
        let mut name = target.file_name().ok_or_else(|| Error::unreachable("the archive needs a name"))?.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let unfinished = target.with_file_name(name);
        let failed = |error: std::io::Error| Error::new(format!("cannot write {}", unfinished.display())).because(error);
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&unfinished).map_err(failed)?;
        let gzip =
            GzBuilder::new().operating_system(HEADER[9]).comment("0".repeat(COMMENT)).write(BufWriter::new(file), Compression::default());
        let mtime = u64::try_from(crate::clock::now().as_second()).unwrap_or(0);
        Ok(Self { tar: Some(tar::Builder::new(gzip)), parts: Vec::new(), unfinished, target: target.to_path_buf(), mtime })
    }

    /// Adds a file.
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.append(name, bytes)?;
        self.parts.push(Part { name: name.to_owned(), bytes: bytes.len() as u64, sha256: sum(bytes) });
        Ok(())
    }

    /// What was added so far.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Adds the manifest, puts everything on the disk and gives the archive its name.
    pub(crate) fn finish(mut self, manifest: &serde_json::Value) -> Result<()> {
        let text = format!("{manifest:#}\n");
        self.append(MANIFEST, text.as_bytes())?;
        self.append(MANIFEST_SUM, format!("{}\n", sum(text.as_bytes())).as_bytes())?;
        let (unfinished, target) = (self.unfinished.clone(), self.target.clone());
        let failed = |error: std::io::Error| Error::new(format!("cannot write {}", target.display())).because(error);
        let Some(tar) = self.tar.take() else { return Ok(()) };
        let mut file =
            tar.into_inner().and_then(GzEncoder::finish).map_err(failed)?.into_inner().map_err(|error| failed(error.into_error()))?;
        let sum = sum_behind_header(&mut file).map_err(failed)?;
        file.seek(SeekFrom::Start(HEADER.len() as u64)).and_then(|_| file.write_all(sum.as_bytes())).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        // Fails where somebody else has put a file there meanwhile, which a rename would replace; there are disks without links.
        let linked = std::fs::hard_link(&unfinished, &target).or_else(|error| match error.kind() {
            ErrorKind::AlreadyExists => Err(error),
            _ => std::fs::rename(&unfinished, &target),
        });
        linked.map_err(failed)?;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.mtime);
        let Some(tar) = &mut self.tar else { return Ok(()) };
        let failed = |error: std::io::Error| Error::new(format!("cannot write {}", self.unfinished.display())).because(error);
        tar.append_data(&mut header, name, bytes).map_err(failed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.unfinished);
    }
}

/// Hands over every file of an archive but its manifest, in order, and gives the manifest. What was handed over is to be believed only
/// when this returns without an error.
pub(crate) fn read(path: &Path, mut each: impl FnMut(&str, &[u8]) -> Result<()>) -> Result<serde_json::Value> {
    let bad = |what: &str| damaged(path, what);
    let mut file = File::open(path).map_err(|error| Error::unreachable(format!("cannot read {}", path.display())).because(error))?;
    let mut header = [0; BODY];
    file.read_exact(&mut header).map_err(|_short| bad("it is too short"))?;
    if header[..HEADER.len()] != HEADER || header[BODY - 1] != 0 {
        return Err(bad("it does not begin as an archive of reprise does"));
    }
    let found = sum_behind_header(&mut file).and_then(|sum| file.rewind().map(|()| sum)).map_err(|error| bad("").because(error))?;
    if header[HEADER.len()..BODY - 1] != *found.as_bytes() {
        return Err(bad("its bytes are not those that were written"));
    }
    let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    let (mut found, mut manifest, mut manifest_sum) = (Vec::new(), None, None);
    for entry in tar.entries().map_err(|error| bad("").because(error))? {
        let mut entry = entry.map_err(|error| bad("").because(error))?;
        let name = entry.path().map_err(|error| bad("").because(error))?.to_string_lossy().into_owned();
        if manifest_sum.is_some() || entry.size() > LARGEST_FILE || (manifest.is_some() && name != MANIFEST_SUM) {
            return Err(bad("its files are not those that reprise writes"));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| bad("").because(error))?;
        match name.as_str() {
            MANIFEST => manifest = Some(bytes),
            MANIFEST_SUM => manifest_sum = Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
            _ => {
                each(&name, &bytes)?;
                found.push(Part { name, bytes: bytes.len() as u64, sha256: sum(&bytes) });
            }
        }
    }
    let manifest =
        manifest.filter(|text| manifest_sum.as_ref() == Some(&sum(text))).ok_or_else(|| bad("its manifest is missing or changed"))?;
    let manifest: serde_json::Value =
        serde_json::from_slice(&manifest).map_err(|error| bad("its manifest cannot be read").because(error))?;
    let named: Vec<Part> =
        serde_json::from_value(manifest["parts"].clone()).map_err(|error| bad("its manifest names no parts").because(error))?;
    if named != found || manifest["sha256"] != sum_of(&found) {
        return Err(bad("its files are not those that its manifest names"));
    }
    Ok(manifest)
}

/// An archive that must not be used.
pub(crate) fn damaged(path: &Path, what: &str) -> Error {
    let what = if what.is_empty() { String::new() } else { format!(": {what}") };
    Error::new(format!("{} is damaged{what}", path.display())).with_hint("nothing of it was used; take another backup")
}

/// The sum of all files, in order.
pub(crate) fn sum_of(parts: &[Part]) -> String {
    sum(parts.iter().map(|part| format!("{}  {}\n", part.sha256, part.name)).collect::<String>().as_bytes())
}

fn sum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn sum_behind_header(file: &mut File) -> std::io::Result<String> {
    file.seek(SeekFrom::Start(BODY as u64))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
