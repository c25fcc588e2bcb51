//! How much memory arguments and environments may take.
//!
//! An exec can carry tens of kilobytes of them, and ancestors keep theirs as long as descendants live, so a bound on the
//! number of processes bounds no memory. Beyond the budget an exec's own event still has everything; what stays in the tree
//! for later events and descendants is the beginning of the arguments, marked as truncated.

use std::sync::{Arc, Weak};

use atalaya_model::Image;

/// What is kept of a trimmed image, in bytes: of the arguments, and of the environment.
const KEPT_ARGS: usize = 1024;
const KEPT_ENVS: usize = 256;

#[derive(Debug)]
pub(super) struct ImageBudget {
    max_bytes: usize,
    total_bytes: usize,
    images: Vec<(Weak<Image>, usize)>,
    /// Images known after the last sweep; the next is due when they have doubled.
    swept_len: usize,
    added_since_sweep: usize,
    pub(super) trimmed: u64,
}

impl ImageBudget {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            total_bytes: 0,
            images: Vec::new(),
            swept_len: 0,
            added_since_sweep: 0,
            trimmed: 0,
        }
    }

    /// Bytes in use; those of images that are gone count until they are noticed.
    pub(super) fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// Counts an image. Gives what to keep instead when there is no room for it.
    pub(super) fn admit(&mut self, image: &Arc<Image>) -> Option<Arc<Image>> {
        let bytes = weight(image);
        let is_over = self.total_bytes + bytes > self.max_bytes;
        // A dead image holds its own struct until it is swept, so their number counts too.
        // Either condition lets a sweep cost a few looks for each image added.
        let may_sweep = self.added_since_sweep > 32 + self.swept_len / 8;
        if self.images.len() > 2 * self.swept_len + 1024 || is_over && may_sweep {
            self.sweep();
        }
        self.added_since_sweep += 1;
        if self.total_bytes + bytes <= self.max_bytes {
            self.count(image, bytes);
            return None;
        }
        let kept = Arc::new(trimmed(image));
        let kept_bytes = weight(&kept);
        if kept_bytes >= bytes {
            self.count(image, bytes);
            return None;
        }
        self.trimmed += 1;
        self.count(&kept, kept_bytes);
        Some(kept)
    }

    fn count(&mut self, image: &Arc<Image>, bytes: usize) {
        self.total_bytes += bytes;
        self.images.push((Arc::downgrade(image), bytes));
    }

    fn sweep(&mut self) {
        let mut freed = 0;
        self.images.retain(|(image, bytes)| {
            let lives = image.strong_count() > 0;
            freed += if lives { 0 } else { *bytes };
            lives
        });
        self.images.shrink_to(2 * self.images.len() + 1024);
        self.total_bytes -= freed;
        self.swept_len = self.images.len();
        self.added_since_sweep = 0;
    }
}

/// The memory an image takes, roughly.
fn weight(image: &Image) -> usize {
    let strings = |list: &[String]| list.iter().map(|s| s.capacity() + 24).sum::<usize>();
    size_of::<Image>()
        + image.file.path.capacity()
        + image.filename.capacity()
        + image.cwd.capacity()
        + strings(&image.argv)
        + strings(&image.envp)
}

fn trimmed(image: &Image) -> Image {
    let (argv, args_cut) = prefix(&image.argv, KEPT_ARGS);
    let (envp, envs_cut) = prefix(&image.envp, KEPT_ENVS);
    Image {
        file: image.file.clone(),
        interpreter: image.interpreter.clone(),
        filename: image.filename.clone(),
        cwd: image.cwd.clone(),
        argv,
        args_truncated: image.args_truncated || args_cut,
        envp,
        envs_truncated: image.envs_truncated || envs_cut,
        ..Image::default()
    }
}

/// The first strings, as many as fit; the one that does not fit is cut.
fn prefix(list: &[String], mut room: usize) -> (Vec<String>, bool) {
    let mut kept = Vec::new();
    for text in list {
        if room <= 24 {
            return (kept, true);
        }
        if text.len() + 24 > room {
            kept.push(text[..text.floor_char_boundary(room - 24)].to_owned());
            return (kept, true);
        }
        room -= text.len() + 24;
        kept.push(text.clone());
    }
    (kept, false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn image(bytes: usize) -> Arc<Image> {
        Arc::new(Image {
            argv: vec!["é".repeat(bytes / 2)],
            envp: vec!["A=b".to_owned()],
            ..Image::default()
        })
    }

    #[test]
    fn beyond_the_budget_images_are_trimmed() {
        let mut budget = ImageBudget::new(1 << 20);
        let mut held = Vec::new();
        for _ in 0..1000 {
            let full = image(10_000);
            held.push(budget.admit(&full).unwrap_or(full));
        }
        assert!(budget.trimmed > 850, "{}", budget.trimmed);
        let last = held.last().unwrap();
        assert!(last.args_truncated && !last.envs_truncated);
        assert!(last.argv[0].len() <= KEPT_ARGS && last.argv[0].starts_with('é'));
        // Room comes back with what is gone.
        held.clear();
        let trimmed = budget.trimmed;
        for _ in 0..1000 {
            let full = image(10_000);
            budget.admit(&full);
        }
        assert!(budget.trimmed - trimmed <= 300);
    }

    #[test]
    fn small_ones_that_are_gone_are_forgotten() {
        let mut budget = ImageBudget::new(1 << 20);
        for _ in 0..100_000 {
            budget.admit(&image(10));
        }
        assert!(budget.images.len() <= 1100);
        assert_eq!(budget.trimmed, 0);
    }
}
