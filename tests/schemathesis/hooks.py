"""What schemathesis cannot know of this server: which refusals are not for a request's shape."""

import schemathesis

# An id in the right place that nothing has, and a name that has to stand elsewhere in the same request: no shape says that.
DANGLING = {
    ("previous_response_not_found", "previous_response_id"),
    ("invalid_value", "after"),
    ("invalid_value", "tool_choice.name"),
    ("invalid_value", "tool_choice.tools"),
}


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if type(failure).__name__ != "RejectedPositiveData":
        return True
    try:
        error = response.json()["error"]
        place = (error["code"], error["param"].split("[")[0])
    except (ValueError, KeyError, TypeError, AttributeError):
        return True
    return place not in DANGLING
