"""A node of the cluster: core, ports, actors, adapters and the daemon that puts them together; and the command line, in `cli`.

Each package's guide says what it is for. Where the great questions are decided:

- An overdraft is refused in `core/ledger/sheet.py`: `debit_status`, which `core/ledger/exact.py` asks; the columns of
  `core/ledger/fast.py` refuse nothing.
- The scope of an id is its debit account's shard, `protocol/placement.py`: `groups_of_transfers`. What a repeat is answered:
  `core/ledger/repeats.py`: `recorded_status`.
- A part says which requests it serves by `core/machine/operation.py`: `Served`; `actors/operations.py`: `Operations` has all of them, and
  `actors/router.py`: `Router` brings them to their shards.
- All parts judge one payment in `core/machine/docket.py`: `judge`.
- Load is shed in `actors/admission.py`: `admit`.
- A failed fsync is `StorageFailed` of `adapters/sqlite.py`. `actors/log_writer.py`: `run` lets it through, so nothing is told that it
  would have shown; the node stops (`actors/life.py`: `failed`), and a restart reads the disk.
- A leader may answer a linearizable read when `core/raft/reads.py`: `confirm` says so; then `actors/questions.py`: `answer` waits for
  rounds that are open on what is read.
- Who may vote: `core/raft/election.py`: `on_vote_request`. A folder in doubt: `actors/doubts.py`: `Doubts`. A log that has lost its end:
  `core/raft/promises.py`: `restore_log`.
- A new coordinator ends the rounds of the last one by `core/commit/recovery.py`: `find_in_votes` under 2pc, `find_in_participants`
  under 3pc; `actors/coordinator.py` carries it out.
- A hold that expires while a round is open on it is marked in `core/ledger/settling.py`: `apply_expire`, and ended by the decision,
  `core/ledger/rounds.py`: `decide`.
- An allowance's midnight is `core/allowances/days.py`: `end_of_day_ns`, asked by leaders alone; what an aborted round gives back:
  `core/allowances/counted.py`: `decide`.
- What readers are told, and from which position on, is `core/machine/telling.py`: `answer_facts`; a question that waits for news does so in
  `actors/questions.py`.
- Another version is refused at the handshake (`config.py`: `shared`), as an entry (`core/machine/entry.py`: `check_form`), as a checkpoint
  (`core/machine/machine.py`: `applied_in`) and as a file (`adapters/sqlite.py`: `FORMAT`).
"""
