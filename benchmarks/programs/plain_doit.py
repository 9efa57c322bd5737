"""doit by itself: its own commands, without those that installed plugins put in their place."""

from __future__ import annotations

import sys

from doit.doit_cmd import DoitMain
from doit.plugin import PluginDict


class PlainDoit(DoitMain):  # type: ignore[misc]
    def get_cmds(self) -> PluginDict:
        commands = PluginDict()
        for command in self.DOIT_CMDS:
            commands[command.get_name()] = command
        return commands


if __name__ == "__main__":
    sys.exit(PlainDoit().run(sys.argv[1:]))
