"""What a project with a user model of its own writes."""

from typing import Any

from primers import users


class ActiveMembers(users.ActiveUsers):
    key_base = "active_members"
    depends_on = [users.on_users("last_login")]

    def users(self) -> Any:
        return users.everyone()


class NewMembers(users.NewUsers):
    key_base = "new_members"
    tz = "Asia/Kathmandu"
    joined = "created_at"
    depends_on = [users.on_joining("created_at")]


class NewMembersList(users.NewUsersList):
    key_base = "new_members_list"
    tz = "Asia/Kathmandu"
    joined = "created_at"
    depends_on = [users.on_joining("created_at")]
