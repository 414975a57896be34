// Options: what a user may ask for. Pure decisions, before anything is made.
#pragma once

#include "warren/connect.h"
#include "warren/listen.h"
#include "warren/result.h"

namespace warren::net {

// An error of Step::options that names the option, the value and the reason.
Result<void> checkOptions(const detail::ListenRequest& request);
Result<void> checkOptions(const detail::ConnectRequest& request);

// As checkOptions does for handler tables, for `reload`.
Result<void> checkHandlers(const HandlerTable& handlers);

// As checkOptions does for spans of time; `name` is the option's.
Result<void> checkDuration(Duration duration, const char* name);

}  // namespace warren::net
