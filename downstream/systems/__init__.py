"""The methods of the papers; `base` defines their interface."""
