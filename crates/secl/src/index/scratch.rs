/// The working memory of evaluations. One for each thread, used for one event after the other, so that an event needs no
/// memory of its own.
#[derive(Debug, Default)]
pub struct Scratch {}
