#include "net/handler_cell.h"

#include <algorithm>
#include <utility>

#include "net/reactor_impl.h"

namespace warren::net {

namespace {

uint32_t dataOffset(const detail::DataType& type) {
  return static_cast<uint32_t>((sizeof(Connection) + type.align - 1) / type.align * type.align);
}

}  // namespace

HandlerCell::HandlerCell(ReactorImpl& itsReactor, detail::SocketRequest&& request,
                         base::SlotId listenerId)
    : reactor(itsReactor),
      table(std::make_unique<HandlerTable>(std::move(request.handlers))),
      dataType(*request.dataType),
      data(std::move(request.data)),
      policy(request.policy),
      listener(listenerId),
      dataOffset(net::dataOffset(dataType)),
      slotKind(reactor.slab().kindOf(
          dataType.size == 0 ? sizeof(Connection) : dataOffset + dataType.size,
          std::max(alignof(Connection), dataType.align))) {}

}  // namespace warren::net
