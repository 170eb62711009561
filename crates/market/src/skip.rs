//! What is not written into a stored state.

/// Whether a field has its default, with which states were stored before it existed.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
