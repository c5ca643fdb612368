//! What several fuzz targets use.

pub mod cuts;
pub mod door;
pub mod heap;
pub mod records;
pub mod signing;
