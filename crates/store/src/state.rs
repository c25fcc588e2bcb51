//! What people keep: saved views, and how self-tests went.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// A search with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its number.
    #[serde(default)]
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The query.
    #[serde(default)]
    pub query: String,
    /// The range of time, as `1h`.
    #[serde(default)]
    pub range: String,
    /// When it was saved, in milliseconds since 1970.
    #[serde(default)]
    pub created: i64,
}

/// A self-test that was run from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SelfTestRun {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Everything was seen.
    pub ok: bool,
    /// In a few words.
    pub summary: String,
}

/// How many of each are kept.
const MAX: i64 = 200;

/// A small database.
#[derive(Debug)]
pub struct StateDb(Mutex<Connection>);

impl StateDb {
    /// Opens it. One that is damaged is put aside, and a new one begun.
    ///
    /// # Errors
    /// It can neither be opened nor made.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("state.sqlite");
        match connect(&path) {
            Ok(connection) => Ok(Self(Mutex::new(connection))),
            Err(error) => {
                tracing::error!("{} is put aside: {error}", path.display());
                let aside = dir.join("state.sqlite.damaged");
                std::fs::rename(&path, aside).map_err(|e| StoreError::file(&path, e))?;
                Ok(Self(Mutex::new(connect(&path)?)))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The saved views, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn views(&self) -> Result<Vec<View>, StoreError> {
        let connection = self.lock();
        let mut rows = connection.prepare(
            "SELECT id, name, query, range, created FROM view ORDER BY name COLLATE NOCASE, id",
        )?;
        let views = rows.query_map([], |row| {
            Ok(View {
                id: row.get(0)?,
                name: row.get(1)?,
                query: row.get(2)?,
                range: row.get(3)?,
                created: row.get(4)?,
            })
        })?;
        Ok(views.collect::<Result<_, _>>()?)
    }

    /// Saves a view; one of the same name is replaced. `None`: there are too many.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn save_view(&self, view: &View) -> Result<Option<View>, StoreError> {
        let connection = self.lock();
        let others: i64 = connection.query_row(
            "SELECT count(*) FROM view WHERE name <> ?1",
            params![view.name],
            |row| row.get(0),
        )?;
        if others >= MAX {
            return Ok(None);
        }
        connection.execute(
            "INSERT INTO view (name, query, range, created) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET query = ?2, range = ?3, created = ?4",
            params![view.name, view.query, view.range, view.created],
        )?;
        let id = connection.query_row(
            "SELECT id FROM view WHERE name = ?1",
            params![view.name],
            |row| row.get(0),
        )?;
        Ok(Some(View { id, ..view.clone() }))
    }

    /// Removes a view. Returns whether it was there.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn delete_view(&self, id: i64) -> Result<bool, StoreError> {
        Ok(self
            .lock()
            .execute("DELETE FROM view WHERE id = ?1", params![id])?
            > 0)
    }

    /// Remembers how a self-test went.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn add_self_test(&self, run: &SelfTestRun) -> Result<(), StoreError> {
        let connection = self.lock();
        connection.execute(
            "INSERT INTO self_test (at, ok, summary) VALUES (?1, ?2, ?3)",
            params![run.at, run.ok, run.summary],
        )?;
        connection.execute(
            "DELETE FROM self_test WHERE id NOT IN (SELECT id FROM self_test ORDER BY id DESC LIMIT ?1)",
            params![MAX],
        )?;
        Ok(())
    }

    /// The last self-tests, the newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn self_tests(&self) -> Result<Vec<SelfTestRun>, StoreError> {
        let connection = self.lock();
        let mut rows = connection
            .prepare("SELECT at, ok, summary FROM self_test ORDER BY id DESC LIMIT 50")?;
        let runs = rows.query_map([], |row| {
            Ok(SelfTestRun {
                at: row.get(0)?,
                ok: row.get(1)?,
                summary: row.get(2)?,
            })
        })?;
        Ok(runs.collect::<Result<_, _>>()?)
    }
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;
         CREATE TABLE IF NOT EXISTS view (
             id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, query TEXT NOT NULL, range TEXT NOT NULL, created INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS self_test (
             id INTEGER PRIMARY KEY, at INTEGER NOT NULL, ok INTEGER NOT NULL, summary TEXT NOT NULL);",
    )?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn views_are_kept_and_damage_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let view = View {
            id: 0,
            name: "mine".into(),
            query: "type:open".into(),
            range: "1h".into(),
            created: 5,
        };
        let db = StateDb::open(dir.path()).unwrap();
        let saved = db.save_view(&view).unwrap().unwrap();
        let again = db
            .save_view(&View {
                query: "x".into(),
                ..view
            })
            .unwrap()
            .unwrap();
        assert_eq!(saved.id, again.id);
        drop(db);
        let db = StateDb::open(dir.path()).unwrap();
        assert_eq!(db.views().unwrap(), [again]);
        assert!(db.delete_view(saved.id).unwrap() && !db.delete_view(saved.id).unwrap());
        for at in 0..250 {
            db.add_self_test(&SelfTestRun {
                at,
                ok: true,
                summary: String::new(),
            })
            .unwrap();
        }
        assert_eq!(db.self_tests().unwrap()[0].at, 249);
        drop(db);
        std::fs::write(dir.path().join("state.sqlite"), [7; 5000]).unwrap();
        for rest in ["state.sqlite-wal", "state.sqlite-shm"] {
            let _ = std::fs::remove_file(dir.path().join(rest));
        }
        assert!(
            StateDb::open(dir.path())
                .unwrap()
                .views()
                .unwrap()
                .is_empty()
        );
    }
}
