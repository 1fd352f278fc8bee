-- Statements on the databases of logins that other programs write; each has a name and is read only.

-- sessions_after: Rows of wtmpdb behind one, oldest first. Files of its first version have no column ID: rowid is the same.
SELECT rowid, Type, User, Login, Logout, TTY, RemoteHost, Service FROM wtmp WHERE rowid > ? ORDER BY rowid LIMIT ?;

-- sessions_among: Those of some rows of wtmpdb that are still there.
SELECT rowid, Type, User, Login, Logout, TTY, RemoteHost, Service FROM wtmp
WHERE rowid IN (SELECT value FROM json_each(?)) ORDER BY rowid;

-- newest_session: The last row of wtmpdb.
SELECT max(rowid) FROM wtmp;

-- session_before_last: The row behind which so many rows of wtmpdb are.
SELECT rowid FROM wtmp ORDER BY rowid DESC LIMIT 1 OFFSET ?;

-- last_logins_since: The last login of each user in lastlog2 since a time, oldest first.
SELECT Name, Time, TTY, RemoteHost, Service FROM Lastlog2 WHERE Time >= ? ORDER BY Time, Name LIMIT ?;

-- last_login_before_last: The time before which all but so many of the last logins in lastlog2 are.
SELECT Time FROM Lastlog2 ORDER BY Time DESC LIMIT 1 OFFSET ?;
