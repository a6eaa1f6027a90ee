//! The edge: connections, deadlines, limits, and what stands before a handler.
