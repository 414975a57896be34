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

uint32_t slotKindOf(base::Slab& slab, const detail::DataType& type) {
  return slab.kindOf(type.size == 0 ? sizeof(Connection) : dataOffset(type) + type.size,
                     std::max(alignof(Connection), type.align));
}

HandlerCell::HandlerCell(ReactorImpl& itsReactor, detail::SocketRequest&& request,
                         base::SlotId listenerId)
    : reactor(itsReactor),
      table(std::make_unique<HandlerTable>(std::move(request.handlers))),
      dataType(*request.dataType),
      data(std::move(request.data)),
      policy(request.policy),
      listener(listenerId),
      dataOffset(net::dataOffset(dataType)),
      slotKind(slotKindOf(reactor.slab(), dataType)) {}

}  // namespace warren::net
