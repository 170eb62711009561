/// Who gives an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The caller's key: an order that is given again under its key is the same one. `None`: each is another one.
    pub key: Option<String>,
    /// By whom, for people.
    pub by: String,
}

impl Given {
    /// By the user of a client, without a key.
    pub fn by_user() -> Self {
        Self { key: None, by: "user".to_owned() }
    }

    /// By the operator of an agent, without a key.
    pub fn by_operator() -> Self {
        Self { key: None, by: "operator".to_owned() }
    }

    /// The same, under this key.
    #[must_use]
    pub fn under(self, key: Option<String>) -> Self {
        Self { key, ..self }
    }
}
