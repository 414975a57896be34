// All of warren.
#pragma once

#include "warren/address.h"
#include "warren/array_buffer_sink.h"
#include "warren/bytes.h"
#include "warren/callback.h"
#include "warren/config.h"
#include "warren/connect.h"
#include "warren/duration.h"
#include "warren/handlers.h"
#include "warren/handover.h"
#include "warren/listen.h"
#include "warren/proxy_protocol.h"
#include "warren/reactor.h"
#include "warren/result.h"
#include "warren/socket.h"
#include "warren/tls.h"
#include "warren/tls_facts.h"
