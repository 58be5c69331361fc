"""What every layer stands on: settings, database, doorbell, errors, log, blobs, mail, sealing, signing, ids, clock."""
