//! The leaf functions of ENCLS, for system software.

mod eadd;
mod eaug;
mod ecreate;
mod eextend;
mod einit;
mod emodpr;
mod emodt;
mod eremove;
