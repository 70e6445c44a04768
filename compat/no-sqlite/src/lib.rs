//! Never built: `scripts/compat` asks cargo whether these dependencies can be chosen together.
