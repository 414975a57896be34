#include "tls/transport.h"

#include <openssl/bio.h>

#include "tls/callbacks.h"

namespace warren::tls {

void Transport::Free::operator()(bio_st* bio) const { BIO_free(bio); }

bio_st* Transport::bio() {
  if (bio_ == nullptr) bio_.reset(Callbacks::makeBio(*this).release());
  return bio_.get();
}

}  // namespace warren::tls
