// Package anchor remembers, outside a store, how far the store's history goes. A store that holds less than that is an older one: a backup
// was restored, or a standby took over that lacked the last commits. What was revoked since would be valid again, so it is refused until an
// operator accepts the loss.
//
// The number of the last commit is all that it knows of a store. It does not know what a change was, and cannot tell another
// history of the same length or a longer one from the one that it followed: stores that are shared tell of that themselves, and everything
// is read anew then.
//
// # File
//
// The anchors of all stores stand in one small file of mode 0600, which is replaced as a whole and synced:
//
//	keybearer anchor 1
//	store <id> <kind> <highest number of a commit that was seen>
//	store <id> <kind> <highest number> refused <number of the last commit in the store that was refused>
//	sum <hexadecimal SHA-256 of all lines before, the first 16 bytes>
//
// The id is made from what the configuration says of the store's place, hashed. Whoever writes the file has locked its directory (flock).
// Nothing in it is secret; but whoever may write it may have an old store taken for a new one.
package anchor
