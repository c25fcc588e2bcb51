//! A record of an event as the kernel side wrote it, and how an event is made of it.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::capture::{FileFields, Header};
use crate::fields::Fields;
use crate::json::Details;

/// A record of an event, taken apart as far as all kinds are alike.
#[derive(Debug, Clone, Default)]
pub struct EventRecord<'a> {
    /// What every record has.
    pub header: Header,
    /// What the call returned.
    pub retval: i64,
    /// The struct of the event's own: `struct <event>_body` of `bpf/atalaya.h`.
    pub body: &'a [u8],
    /// The file, and a second one.
    pub files: [Option<FileFields>; 2],
    /// Texts: arguments, as the caller gave them or as the kernel copied them. `None` when there is none, or it could not be read.
    pub texts: [Option<Text>; 2],
    /// Bytes that the event knows the meaning of.
    pub bytes: &'a [u8],
}

/// A text of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text {
    /// What could be read of it; what is not UTF-8 is replaced.
    pub text: String,
    /// It is the kernel's copy, not the caller's memory, which another thread may have changed since.
    pub kernel_copy: bool,
    /// It is longer than what was captured.
    pub truncated: bool,
}

impl EventRecord<'_> {
    /// The body as the struct of the event; a body that is longer, of a newer object, is cut.
    pub fn body<T: FromBytes + KnownLayout + Immutable>(&self) -> Option<T> {
        T::read_from_prefix(self.body).ok().map(|(body, _)| body)
    }

    /// A text, or the empty one.
    #[must_use]
    pub fn text(&self, index: usize) -> &str {
        let text = self.texts.get(index).and_then(Option::as_ref);
        text.map_or("", |text| &text.text)
    }

    /// Takes a file out.
    pub fn take_file(&mut self, index: usize) -> Option<FileFields> {
        self.files.get_mut(index).and_then(Option::take)
    }
}

/// What an event is made of and how it is told; each event type has its own.
pub(crate) trait EventBody: Fields + Sized {
    /// The event of a record of its kind; `None` when the record makes no sense.
    fn read(_record: &mut EventRecord<'_>) -> Option<Self> {
        None
    }

    /// What the call returned; `None` for what is no call.
    fn retval(&self) -> Option<i64> {
        None
    }

    /// Puts what is the event's own into its JSON.
    fn tell<'a>(&'a self, _details: &mut Details<'a>) {}

    /// The packet that it is about; its context is `network.*`.
    fn packet(&self) -> Option<&crate::event::PacketContext> {
        None
    }

    /// The process that something is done to, by its id in the initial pid namespace, to be looked up in the process tree.
    fn target_pid(&self) -> Option<u32> {
        None
    }

    /// Takes the process that was looked up.
    fn set_target(&mut self, _target: crate::process::Target) {}
}

/// The mirrors of the kernel side's structs. A test of the sensor holds them against the object's BTF.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// The struct's name on the C side.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Its fields, each with its offset.
    pub fields: &'static [(&'static str, usize)],
}

/// Declares the body of an event, as `bpf/atalaya.h` does, and the constant `MIRROR` of it.
#[macro_export]
#[doc(hidden)]
macro_rules! event_body {
    ($(#[$meta:meta])* struct $name:ident as $c:literal { $($field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable)]
        pub(crate) struct $name { $(pub(crate) $field: $type,)* }

        impl $name {
            /// How it lies in memory, for the test that holds it against the C side.
            pub(crate) const MIRROR: $crate::record::Mirror = $crate::record::Mirror {
                name: $c,
                size: size_of::<$name>(),
                fields: &[$((stringify!($field), std::mem::offset_of!($name, $field)),)*],
            };
        }
    };
}
