"""The arq workers: queues, jobs and the life of a worker process. Jobs carry ids and call flows; nothing is decided here."""
