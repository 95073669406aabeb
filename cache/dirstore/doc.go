// Package dirstore is a [cache.Store] in a directory: one small file per
// entry, no server, no lock, nothing held open. Any number of processes may
// use one directory at a time, and one that lives for a single request pays 0.3
// to 0.4 ms for opening it and taking an entry, a process that has done so
// before 40 us.
//
// # At most once
//
// To take an entry is to remove its file; the operating system lets one
// process do that, and this one has the entry. A file is read first and
// removed then, so that a process that dies in between loses nothing; one that
// dies after the removal takes the entry with it. A new file is written under
// a temporary name and renamed when it is complete, so that nobody sees half
// of one.
//
// All this survives the death of processes. When the machine dies, files that
// were removed may be there again and their entries come twice, and new ones
// may be empty: with Options.Sync neither happens, for some hundred
// microseconds per call. No store can know that its directory was restored
// from a backup or cloned with its machine.
//
// # The directory
//
//	dir/                          0700
//	  <hash of a key>/            0700
//	    <sequence>-<expiry>-<hash of the ID>-<nonce>       0600
//	    <the same>.tmp            being written, or left behind
//
// Names are hashes and numbers in digits that no file system confuses. They
// tell order and expiry, so that Take lists a directory and opens one file.
// Order is by clock, but never before what is there already: a clock that goes
// back harms no order within a key as long as the key has entries, and
// at-most-once never. It lets entries live longer that were to expire.
//
// Files with other names are left alone. What has the name of an entry and is
// no file, such as a symbolic link, a FIFO or a directory, is never followed,
// waited for or taken. All this is skipped and counted, see [Stats], and hides
// no good entry. A damaged file is removed by a Take. What has expired goes
// when a call comes across it, in small part with a store's first Put, and all
// of it with Sweep; so do temporary files ten minutes after their writers died.
//
// # Who may read it
//
// The directory must belong to the process's user and must not be writable by
// anybody else, and so should be the directories above it, which are not
// looked at. Values are written as they come: seal them before.
//
// # Systems
//
//   - Linux is what all this is tested on, with ext4 and tmpfs.
//   - macOS and the BSDs have the same calls. APFS may show a file that is just
//     being removed as empty, which counts as damaged or vanished.
//   - Windows: a take opens the file for itself alone, to be deleted when it is
//     closed, because there two removals of one file may both succeed. A reader
//     such as a virus scanner can make a Take miss. Owner and access lists are
//     not looked at, and Sync is refused: a directory cannot be synced. Built
//     and vetted, never run.
//   - NFS: removal is decided by the server, so that at-most-once holds between
//     clients; a client may list an old state, and miss. If the reply to a
//     removal is lost, so is the entry. Clocks differ, and with them expiry and
//     the order of machines that put to a key that has run empty. Never run.
//   - Other file systems must let one of several removals of a file succeed.
package dirstore
