//! Layers and networks against their plain meaning, on small insecure rings.

mod lanes;
mod layers;
mod layout;
mod model;
mod plan;
mod program;
mod slots;
mod support;
mod tiny;
