"""The command ``cp``: where a copy goes (`copy_places`), its files (`cp_work`), and ``-`` (`copy_streams`)."""
