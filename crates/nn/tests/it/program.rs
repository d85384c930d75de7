//! Programs and schedules: any order gives the same bits, and what cannot run is refused.
