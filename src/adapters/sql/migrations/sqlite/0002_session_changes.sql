-- The log of what became of sessions: their ends, and other changes (a token, a risk, labels) after which copies of them
-- are out of date. Positions are handed out per realm by the row in `session_change_heads`, so they become visible in
-- order and without gaps; entries up to `trimmed` are gone. A session ends once. The log of ends alone becomes part of it.
CREATE TABLE session_change_heads (
  realm TEXT NOT NULL PRIMARY KEY,
  head INTEGER NOT NULL,
  trimmed INTEGER NOT NULL CHECK (trimmed <= head)
) STRICT;
CREATE TABLE session_changes (
  realm TEXT NOT NULL,
  position INTEGER NOT NULL,
  session_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  end_reason TEXT,
  changed_at INTEGER NOT NULL,
  PRIMARY KEY (realm, position)
) STRICT;
CREATE UNIQUE INDEX session_changes_one_end ON session_changes (session_id) WHERE end_reason IS NOT NULL;
INSERT INTO session_change_heads (realm, head, trimmed) SELECT realm, head, trimmed FROM revocation_heads;
INSERT INTO session_changes (realm, position, session_id, subject, end_reason, changed_at)
SELECT realm, position, session_id, subject, reason, ended_at FROM revocations;
DROP TABLE revocations;
DROP TABLE revocation_heads;
