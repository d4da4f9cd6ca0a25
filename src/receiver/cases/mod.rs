//! The receiver against what the network can send: real servers on free ports of this machine, real sockets.

mod bodies;
mod crowds;
mod door;
mod http2;
mod outcomes;
mod protocol;
mod rig;
mod shutdown;
mod signatures;
mod slowness;
mod table;
