// HandlerCell: the shared place that names the current handler table of a group of sockets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/slab.h"
#include "net/secure.h"
#include "net/token.h"
#include "warren/handlers.h"
#include "warren/listen.h"

namespace warren::net {

class Connection;
class ReactorImpl;

// Which slots of the slab sockets with such a Data lie in.
uint32_t slotKindOf(base::Slab& slab, const detail::DataType& type);

// What the sockets of one listener, or one dialed socket, have in common: handlers, the shape and
// first value of their Data, limits. Its sockets are linked through their own slots.
//
// Owner: counted references, one for each socket and one for the listener; the last one deletes it.
// Invariant: `table` is never null, and replaced tables live until the sweep, since a handler of
// theirs may be running.
class HandlerCell {
 public:
  HandlerCell(ReactorImpl& itsReactor, detail::SocketRequest&& request, base::SlotId listenerId);
  HandlerCell(const HandlerCell&) = delete;
  HandlerCell& operator=(const HandlerCell&) = delete;

  ReactorImpl& reactor;
  std::unique_ptr<HandlerTable> table;
  const detail::DataType& dataType;
  std::shared_ptr<void> data;
  const detail::SocketPolicy policy;
  SharedTls tls;                // of sockets from now on
  std::string host;             // what was dialed
  const base::SlotId listener;  // names nothing for dialed sockets
  const uint32_t dataOffset;    // of Data in the slot
  const uint32_t slotKind;      // of the slab

  uint32_t references = 0;
  uint32_t firstSocket = kNone;  // newest first, linked by Connection
  size_t openSockets = 0;        // those that have not had their `close`
  size_t handshakes = 0;         // under way
  uint64_t bytesRead = 0;
  uint64_t bytesWritten = 0;  // taken by the kernel

  // The reactor's list of all cells.
  HandlerCell* next = nullptr;
  HandlerCell* prev = nullptr;

 private:
  ~HandlerCell() = default;
  friend class ReactorImpl;
};

}  // namespace warren::net
