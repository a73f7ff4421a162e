package budget

const EntryBytes = entryBytes
