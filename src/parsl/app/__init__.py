"""Apps: functions whose calls become tasks, with the futures and the errors that belong to them."""
