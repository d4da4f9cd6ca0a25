-- What Stripe has confirmed of a subscription, or is to be asked. The row itself is what counts.
ALTER TABLE subscriptions ADD COLUMN cancel_at_s BIGINT;
-- When Stripe showed what counts, by its own clock.
ALTER TABLE subscriptions ADD COLUMN confirmed_s BIGINT;
-- When the last event was learned.
ALTER TABLE subscriptions ADD COLUMN told_ms BIGINT;
-- A JSON object: what was told and would take something away.
ALTER TABLE subscriptions ADD COLUMN claim TEXT CHECK (claim <> '');
