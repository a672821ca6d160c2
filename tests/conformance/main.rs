//! Every implementation of a trait on the suite of that trait: the next one only names itself.

mod sources;

#[path = "../support"]
mod support {
    pub mod memory_source;
    #[macro_use]
    pub mod source_suite;
}
