//! What is not kept.

settings! {
    /// What is kept of an event.
    pub struct Privacy in "privacy" {
        /// The fields that are dropped from Stripe's events and the app's signals before they are sealed and kept: by
        /// default whatever tells of cards, bank accounts, addresses and names, and links that show them. Contacts,
        /// safety plans and consent are kept whole, and of a signal what it is made of (its `source`, say). A
        /// path is a field's name, or several with dots between them, and is looked for everywhere in the
        /// event; `sources.data` is every `data` inside a `sources`. Your list takes the place of the default
        /// one. Signatures are checked before, over the whole event. Texts are not looked into: do not write
        /// personal data into descriptions or metadata. `[]` keeps everything.
        drop_paths: Vec<String> => ["card", "billing_details"],
    }
}
