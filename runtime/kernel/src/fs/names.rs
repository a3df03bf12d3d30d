//! Making, removing and renaming files.
