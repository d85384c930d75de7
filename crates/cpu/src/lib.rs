//! A CPU as a device of [`aegis_hal`]: worker threads behind a queue, SIMD chosen at run time.
//!
//! ```
//! use std::sync::Arc;
//! use aegis_cpu::Cpu;
//! use aegis_hal::{Backend, HostData, Kernel, Shape};
//! use aegis_ring::{Basis, LimbId, Rns, primes};
//!
//! let prime = primes::nearest_ntt_prime(2f64.powi(40), 1 << 39..1 << 41, 10, &[])?;
//! let dev = Cpu::new(Arc::new(Rns::new(10, &[prime])?), 2)?;
//! let basis = Basis::new([LimbId(0)]);
//!
//! // 3 X^0 + 1 X^1, squared in evaluation form: 9 + 6 X + X^2.
//! let mut coefficients = vec![0; 1024];
//! (coefficients[0], coefficients[1]) = (3, 1);
//! let x = dev.upload(Shape::new(1, basis.clone(), 1024), HostData::coefficients(coefficients))?;
//! let mut square = dev.alloc(x.shape().clone())?;
//! dev.launch(&Kernel::Mul, &basis, square.view_mut(), &[x.view(), x.view()])?;
//! dev.launch(&Kernel::Intt, &basis, square.view_mut(), &[])?;
//! assert_eq!(dev.download(square.view())?[..4], [9, 6, 1, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Non-goals
//! Several sockets with their own memories (make one device for each), constant-time arithmetic on secret data,
//! rings or primes beyond those of [`aegis_ring`].

mod backend;
mod chunk;
mod engine;
mod executor;
mod kernels;
mod memory;
mod operand;
mod simd;
mod sync;

pub use backend::{Cpu, CpuOptions};
pub use simd::Isa;
