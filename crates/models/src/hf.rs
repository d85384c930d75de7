//! A model directory as Hugging Face publishes it: files read within limits, tensors by name, text to tokens.

pub(crate) mod files;
pub(crate) mod safetensors;
pub(crate) mod tokenizer;
