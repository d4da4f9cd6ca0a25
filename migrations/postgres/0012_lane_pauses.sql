-- The lanes that operators hold up, and why. Redis knows it too, and claims go by that; when it has forgotten, it is
-- told again from here, before anything is claimed.
CREATE TABLE lane_pauses (
    lane   TEXT NOT NULL PRIMARY KEY
           CHECK (lane IN ('crisis', 'therapeutic', 'realtime', 'standard', 'background')),
    reason TEXT NOT NULL CHECK (length(reason) <= 200)
);
