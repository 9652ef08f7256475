"""The option `--prompts-format` of the commands that read a prompt file."""

HELP = (
    "The format of the prompt file, where its name does not say it: txt, csv, csv-semicolon, tsv, tsv-quoted, json or "
    "jsonl; csv:COLUMN for a column of another name. [default: by the file's name]"
)
