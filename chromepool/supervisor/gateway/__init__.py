"""The gateway's process: started, welcomed, pinged, replaced."""
