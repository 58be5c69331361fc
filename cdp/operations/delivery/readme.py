"""The README inside every package: what its files are and what the acquirer owes the people in them."""

README = """# Customer records handed over

Every file here is encrypted to you alone (age, https://age-encryption.org/v1). `package.json` beside the folder `data`
is signed by the seller; it lists every file with the size and SHA-256 of its plain text and of what you received.
The whole is a BagIt bag (RFC 8493).

| file | holds |
|---|---|
| `NN-cohort/customers-NNNNN.ndjson` | a customer a line, the fields agreed for the cohort |
| `NN-cohort/customers-NNNNN.parquet` | the same rows as a table |
| `NN-cohort/choices-NNNNN.ndjson` | preferences, consents with their whole history, answers to policies |
| `NN-cohort/provenance-NNNNN.ndjson` | where, when, under which policy version each was collected; their notice |
| `opt-out.ndjson` | keyed hashes of addresses whose owners opted out of something; the key is in the first line |
| `schema.json` | names and types of every field |

`id` is the name of a person in this transfer; receipts, late objections and erasures use it. The basis of each cohort
is in `package.json`: records of an `archive_only` cohort are kept for the law's sake and used for nothing.

You owe the people in it: honour the choices and the opt-out list from the first day on; apply every change the seller
sends afterwards (late objections, erasures) and acknowledge it; destroy everything and say so if the transfer is
recalled. Values of type JSON are text that holds JSON. Times are UTC.
"""
